"""What a run that found nothing to do keeps, so that the next look need not find out again."""
