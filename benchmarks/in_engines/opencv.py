"""OpenCV's dnn, 4 or 5."""

import cv2
import onnx


def load(path, arrays):
    net = cv2.dnn.readNet(path)
    names = [value.name for value in onnx.load(path).graph.output]  # OpenCV 4 has them in another order

    def run(arrays):
        (image,) = arrays
        net.setInput(image)
        return net.forward(names)

    return run
