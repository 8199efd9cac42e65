"""The layer types that forks of Caffe added."""
