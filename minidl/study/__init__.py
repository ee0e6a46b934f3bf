"""Looking inside models."""

from minidl.study.summary import Row, summarize
