"""What a study costs: arithmetic, hours, disk, judge's calls; planned before, compared after."""
