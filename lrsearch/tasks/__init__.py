"""What is learned: the ``Task`` class, the shipped tasks, their data (importing it imports no torch)."""

from lrsearch.tasks.catalogue import TaskInfo, load_task, task_info, task_names

__all__ = ["TaskInfo", "load_task", "task_info", "task_names"]
