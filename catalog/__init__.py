"""What a listing photo is and where it is kept."""
