import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from multiposenet.data.pictures import MAX_PIXELS, find_pictures, read_picture
from multiposenet.errors import UserError


@pytest.fixture
def gradient():
    """(40, 60, 3) RGB: red grows to the right, green downward, blue is constant."""
    y, x = np.mgrid[:40, :60]
    return np.stack([x * 4, y * 6, np.full_like(x, 90)], axis=-1).astype("uint8")


def close(a, b, most=12):
    return a.shape == b.shape and a.dtype == np.uint8 and np.abs(a.astype(int) - b).max() <= most


@pytest.mark.parametrize("name", ["a.jpg", "A.JPG", "a.png", "a.PNG", "a.bmp", "a.tif", "a.webp", "a.ppm", "plain"])
def test_formats(tmp_path, gradient, name):
    kind = None if "." in name else "PNG"
    Image.fromarray(gradient).save(tmp_path / name, kind, **({"quality": 95} if name.lower().endswith("jpg") else {}))
    assert close(read_picture(tmp_path / name), gradient, most=30 if name.endswith("webp") else 12)


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_rotation(tmp_path, gradient, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    upright = {1: gradient, 2: gradient[:, ::-1], 3: gradient[::-1, ::-1], 4: gradient[::-1],
               5: gradient.transpose(1, 0, 2), 6: np.rot90(gradient, -1), 7: np.rot90(gradient[::-1], 1),
               8: np.rot90(gradient, 1)}[turn]
    Image.fromarray(gradient).save(tmp_path / "turned.jpg", quality=98, exif=exif)
    assert close(read_picture(tmp_path / "turned.jpg"), upright)


def test_grey_palette_and_alpha(tmp_path, gradient):
    grey = Image.fromarray(gradient).convert("L")
    grey.save(tmp_path / "grey.png")
    grey.convert("1").save(tmp_path / "bits.png")
    palette = Image.fromarray(gradient).quantize(256)
    palette.save(tmp_path / "palette.png")
    Image.fromarray(np.dstack([gradient, np.zeros((40, 60), "uint8")])).save(tmp_path / "alpha.png")
    grey.convert("LA").save(tmp_path / "grey_alpha.png")
    as_rgb = np.dstack([np.asarray(grey)] * 3)
    assert close(read_picture(tmp_path / "grey.png"), as_rgb, 0)
    assert close(read_picture(tmp_path / "grey_alpha.png"), as_rgb, 0)
    assert set(np.unique(read_picture(tmp_path / "bits.png"))) == {0, 255}
    assert close(read_picture(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")), 0)
    assert close(read_picture(tmp_path / "alpha.png"), gradient, 0)  # alpha dropped


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled(tmp_path, gradient, suffix):
    deep = gradient.astype("uint16") * 257
    cv2.imwrite(str(tmp_path / f"rgb{suffix}"), deep[..., ::-1])
    cv2.imwrite(str(tmp_path / f"grey{suffix}"), deep[..., 0])
    assert close(read_picture(tmp_path / f"rgb{suffix}"), gradient, 1)
    assert close(read_picture(tmp_path / f"grey{suffix}"), np.dstack([gradient[..., 0]] * 3), 1)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk(tmp_path, suffix):
    Image.new("CMYK", (30, 20), (200, 10, 20, 30)).save(tmp_path / f"ink{suffix}")
    red, green, blue = read_picture(tmp_path / f"ink{suffix}")[10, 10]
    assert red < 80 and green > 180 and blue > 180  # cyan


@pytest.mark.parametrize("height, width", [(1, 1), (1, 300), (10_000, 12), (10_000, 10_000)])
def test_sizes(tmp_path, height, width):
    cv2.imwrite(str(tmp_path / "p.png"), np.full((height, width), 70, "uint8"))
    picture = read_picture(tmp_path / "p.png")
    assert picture.shape == (height, width, 3) and (picture[0, 0] == 70).all()


@pytest.fixture
def bad_files(tmp_path, gradient):
    """Name -> what the message must say."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), "uint8")).save(tmp_path / "whole.jpg")
    for suffix in (".jpg", ".png", ".bmp", ".tif", ".webp", ".gif"):
        Image.fromarray(gradient).save(tmp_path / f"whole{suffix}")
        content = (tmp_path / f"whole{suffix}").read_bytes()
        (tmp_path / f"cut{suffix}").write_bytes(content[:len(content) * 3 // 4])
        (tmp_path / f"cut{suffix}.start").write_bytes(content[:12])
    content = bytearray((tmp_path / "whole.png").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "altered.png").write_bytes(content)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture at all\n" * 50)
    (tmp_path / "folder.jpg").mkdir()
    Image.fromarray(np.zeros((9, 9), "float32")).save(tmp_path / "float.tif")
    return {"empty.jpg": "is empty", "text.jpg": "not a picture", "folder.jpg": "not a file",
            "missing.jpg": "no such file", "float.tif": "8-bit", "altered.png": "copy it again"} | {
                path.name: "picture|copy it again" for path in tmp_path.glob("cut*")}


def test_bad_files(tmp_path, bad_files, capfd):
    for name, says in bad_files.items():
        with pytest.raises(UserError, match=says) as error:
            read_picture(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_no_permission(tmp_path, gradient, monkeypatch):
    Image.fromarray(gradient).save(tmp_path / "secret.png")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UserError, match="secret.png: cannot be read .Permission denied"):
        read_picture(tmp_path / "secret.png")


@pytest.mark.parametrize("side", [int(MAX_PIXELS ** .5) + 1, 20_000, 60_000])
def test_bombs_are_refused_from_the_header(tmp_path, gradient, side, monkeypatch, capfd):
    Image.fromarray(gradient).save(tmp_path / "bomb.png")
    content = (tmp_path / "bomb.png").read_bytes()
    header = b"IHDR" + struct.pack(">II", side, side) + content[24:29]
    (tmp_path / "bomb.png").write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match="bomb.png: more than 134 million pixels; scale it down"):
        read_picture(tmp_path / "bomb.png")
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def tree(tmp_path, gradient):
    for name in ("b.JPG", "a.png", "below/c.jpeg", ".hidden.png", "odd [1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(gradient).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "nothing").mkdir()
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_find_pictures(tree):
    assert names(find_pictures([tree])) == ["a.png", "b.JPG", "odd [1].png"]
    assert names(find_pictures([f"{tree}/*.png", tree / "a.png", tree])) == ["a.png", "b.JPG", "odd [1].png"]
    assert names(find_pictures([f"{tree}/**/*.jp*g"])) == ["c.jpeg"]
    assert names(find_pictures([f"{tree}/**"])) == ["a.png", "b.JPG", "c.jpeg", "odd [1].png"]
    assert names(find_pictures([tree / "odd [1].png"])) == ["odd [1].png"]
    assert names(find_pictures([tree / "notes.txt"])) == ["notes.txt"]  # named outright: reading it will tell


@pytest.mark.parametrize("pattern, says", [
    ("nothing", "no picture lies in this folder"), ("*.gif", "no picture matches"), ("*.txt", "no picture matches"),
    ("gone.png", "no such file or folder"),
])
def test_nothing_found(tree, pattern, says):
    with pytest.raises(UserError, match=says):
        find_pictures([tree, tree / pattern])
