"""Small helpers that know nothing of networks: files and folders, progress, memory."""
