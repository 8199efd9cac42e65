"""Nets as scripts write them, for both pycaffes: `CAFFE net_specs.py` prints what pycaffe makes of them."""


def lenet(L, P, NetSpec):
    n = NetSpec()
    n.data, n.label = L.Data(
        source="lenet_lmdb", backend=P.Data.LMDB, batch_size=64, ntop=2, transform_param=dict(scale=1.0 / 255)
    )
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, weight_filler=dict(type="xavier"))
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(n.pool1, num_output=500, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.ip1, in_place=True)
    n.ip2 = L.InnerProduct(n.relu1, num_output=10, param=[dict(lr_mult=1), dict(lr_mult=2, decay_mult=0)])
    n.loss = L.SoftmaxWithLoss(n.ip2, n.label, loss_param=dict(ignore_label=255, normalize=False))
    return n.to_proto()


def unnamed(L, P, NetSpec):
    """Numbers come by first need; a name keyword renames the layer alone."""
    n = NetSpec()
    data = L.Input(shape=dict(dim=[1, 3, 5, 7]))
    first = L.Convolution(data, kernel_size=[3, 2], num_output=4, name="renamed")
    second = L.Convolution(L.ReLU(first), kernel_size=1, num_output=2, include=dict(phase=1))
    n.sum = L.Eltwise(second, L.Convolution(data, kernel_size=1, num_output=2), operation=P.Eltwise.SUM)
    n.left, right = L.Slice(n.sum, ntop=2, axis=1)
    n.right = right
    n.again = right
    n.quiet = L.Silence(n.left, ntop=0)
    return n.to_proto()


def fcn(L, P, NetSpec):
    n = NetSpec()
    n.data, n.label = L.Python(module="voc_layers", layer="Data", ntop=2, param_str=str({"seed": 1337}))
    n.score = L.Convolution(n.data, num_output=21, kernel_size=1, pad=0)
    n.up = L.Deconvolution(
        n.score,
        convolution_param=dict(num_output=21, kernel_size=4, stride=2, bias_term=False),
        param=[dict(lr_mult=0)],
    )
    n.dropped = L.Dropout(n.up, dropout_ratio=0.5, in_place=True)
    n.noise = L.DummyData(num=1, channels=2, height=3, width=4, data_filler=dict(type="gaussian", std=2))
    return n.to_proto()


SPECS = (lenet, unnamed, fcn)

if __name__ == "__main__":
    import caffe

    for spec in SPECS:
        print(f"# {spec.__name__}\n{spec(caffe.layers, caffe.params, caffe.NetSpec)}")
    top = caffe.layers.ReLU(caffe.layers.Input(), ntop=1)
    print(f"# to_proto\n{caffe.to_proto(top, caffe.layers.TanH(top))}")
