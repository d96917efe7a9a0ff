"""Read photo files from disk, archives, HTTP and object stores."""
