"""Tools around training; PyTorch's ``torch.utils`` where it has the same."""
