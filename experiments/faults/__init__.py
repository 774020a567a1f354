"""What a run survives: kills, damaged files, wrong configurations, full disks and odd machines, each as trials."""
