"""The torch modules: any net as a CaffeNet, the FCNs of the papers, and how far they are from Caffe."""
