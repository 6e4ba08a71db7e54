"""Who restores segments on this machine: this process, or several; and which segment is whose."""
