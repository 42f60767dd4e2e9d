"""What a run consists of: holding its turn, planning, carrying out, clearing up."""
