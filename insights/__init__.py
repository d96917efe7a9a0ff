"""What `marketlens insights` finds in the collection as a whole. Imports catalog and embedding."""
