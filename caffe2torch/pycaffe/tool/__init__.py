"""`c2t-caffe`, Caffe's command."""
