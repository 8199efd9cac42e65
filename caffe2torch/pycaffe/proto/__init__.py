"""`caffe.proto`: Caffe's messages for scripts that build or read them."""
