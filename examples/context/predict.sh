# Adds the weights up.
awk '{ sum += $1 } END { printf "{\"perf\": %.2f}\n", sum }' weights.txt > /data/perf.json
