"""Reading: what a source holds, and its pictures one by one."""
