"""Photo files: on disk, in archives, over HTTP and in object stores."""
