"""Looking inside models: what every layer costs, every op that ran, and where each number came from."""

from minidl.study import pictures
from minidl.study.explain import Explanation, Term
from minidl.study.graph import Graph, graph
from minidl.study.record import Call, OpRecord, Record, record
from minidl.study.summary import Row, summarize
