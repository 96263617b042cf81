"""What hooks in a room report and ask: IPC files, watched and read; see docs/ipc.md. The containers are hostile."""
