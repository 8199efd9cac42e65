"""fcn-segment: photos into pictures of what a model sees in them."""
