"""What onnx and onnxruntime say of a file that ld-distill wrote.

onnx_run.py --has onnx|onnxruntime       exit status 0 if that can be imported
onnx_run.py --check MODEL                the checker of onnx, shapes inferred
onnx_run.py MODEL IMAGE H W ROWS COLUMNS OUT
    runs it on float32 planes (1, 3, H, W); writes a line a detection to OUT:
    label score x0 y0 x1 y1
Exit status 77: too old for the operators of the file.
"""
import importlib.util
import sys


def check(path):
    import onnx
    version = onnx.load(path).opset_import[0].version
    if version > onnx.defs.onnx_opset_version():
        print('onnx %s knows no operator set %d' % (onnx.__version__, version))
        return 77
    onnx.checker.check_model(path)
    onnx.shape_inference.infer_shapes(onnx.load(path), check_type=True,
                                      strict_mode=True)
    return 0


def run(model, image, H, W, rows, columns, out):
    import numpy
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model, options,
                                               ['CPUExecutionProvider'])
    except Exception as error:  # its own classes have moved about
        print(error)
        return 77 if 'NOT_IMPLEMENTED' in str(error) else 1
    planes = numpy.fromfile(image, numpy.float32).reshape(1, 3, int(H), int(W))
    size = numpy.array([int(rows), int(columns)], numpy.int64)
    boxes, scores, labels = session.run(
        ['boxes', 'scores', 'labels'], {'image': planes, 'image_size': size})
    with open(out, 'w') as file:
        for label, score, box in zip(labels, scores, boxes):
            file.write('%d %.9g %.9g %.9g %.9g %.9g\n' % (label, score, *box))
    return 0


if sys.argv[1] == '--has':
    sys.exit(importlib.util.find_spec(sys.argv[2]) is None)
sys.exit(check(sys.argv[2]) if sys.argv[1] == '--check' else run(*sys.argv[1:]))
