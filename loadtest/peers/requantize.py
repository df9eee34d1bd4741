"""A GGUF file with its matrices in Q8_0: python requantize.py FROM.gguf TO.gguf

llama.cpp's own encoder (the `gguf` package) makes it, so that every engine reads the same bytes.
"""

import os
import sys

import gguf

Q8_0 = gguf.GGMLQuantizationType.Q8_0


def main(source: str, target: str) -> None:
    reader = gguf.GGUFReader(source)
    architecture = reader.get_field(gguf.Keys.General.ARCHITECTURE).contents()
    partial = target + ".partial"
    writer = gguf.GGUFWriter(partial, architecture)
    for field in reader.fields.values():
        # The writer sets these itself.
        if field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF."):
            continue
        if field.name == gguf.Keys.General.FILE_TYPE:
            writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if len(tensor.shape) == 2:
            writer.add_tensor(tensor.name, gguf.quants.quantize(data, Q8_0), raw_dtype=Q8_0)
        else:
            writer.add_tensor(tensor.name, data.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
