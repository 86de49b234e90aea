"""What is made of a release: the image for every platform, the chart, and what vouches for them."""
