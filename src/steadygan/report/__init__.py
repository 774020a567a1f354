"""One self-contained page on one run or several: verdict, scores, curves, critic, samples, settings."""
