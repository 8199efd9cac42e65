"""OpenCV's dnn, 4 or 5."""

import cv2


def load(path, arrays):
    net = cv2.dnn.readNet(path)
    names = net.getUnconnectedOutLayersNames()

    def run(arrays):
        (image,) = arrays
        net.setInput(image)
        return net.forward(names)

    return run
