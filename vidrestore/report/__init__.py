"""What we say about a video: scores, comparisons, previews, and the proof report."""
