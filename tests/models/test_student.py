"""The student, its parts, and loading of weights."""

import io
import math
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional

from lib.config.loader import load_config
from lib.models.box_coder import decode, encode_score, gaussian_radius
from lib.models.build import build_model
from lib.models.fusion import FUSIONS
from lib.models.head import HEADS
from lib.models.vit import VARIANTS
from lib.models.weights.read import read_checkpoint, read_net
from lib.models.weights.report import load_exact, load_fitting
from lib.structures import MODALITIES, Pair, modality_index
from lib.tracker.postprocess import decode_peak, hann_window
from lib.utils.misc import count_parameters


def crops(batch: int, size: int, seed: int = 0) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    return Pair(*(torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=generator) for _ in "ab"))


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return build_model(load_config("transcmd", "debug")).eval()


def inputs(batch: int = 2):
    return crops(batch, 32, 1), crops(batch, 64, 2), torch.arange(batch) % len(MODALITIES)


@pytest.mark.parametrize(
    ("config", "count"), [("tiny", 6_542_597), ("small", 24_436_965), ("base", 92_520_901), ("demo", 1_222_693)]
)
def test_number_of_trainable_parameters_is_fixed(config, count):
    assert count_parameters(build_model(load_config("transcmd", config))) == count


def test_tiny_without_position_embeddings_has_the_published_size():
    model = build_model(load_config("transcmd", "tiny"))
    positions = sum(p.numel() for name, p in model.named_parameters() if name.endswith("position"))
    assert count_parameters(model) - positions == 6_481_157


def test_output_has_the_documented_shapes_and_ranges(student):
    output = student(*inputs(3))
    assert output.score_map.shape == (3, 1, 4, 4)
    assert output.size_map.shape == output.offset_map.shape == (3, 2, 4, 4)
    assert output.boxes.shape == (3, 4)
    assert output.paths == {}
    assert ((output.score_map > 0) & (output.score_map < 1)).all()
    assert output.features["block01/rgb"].shape == (3, 4 + 16, 64)
    assert output.features["fused"].shape == (3, 16, 64)
    assert set(output.features) == {f"block{n:02d}/{m}" for n in (0, 1, 2) for m in ("rgb", "aux")} | {"fused"}


def test_a_sample_does_not_depend_on_its_batch(student):
    template, search, modality = inputs(4)
    together = student(template, search, modality)
    for i in range(4):
        alone = student(
            *(Pair(*(image[i : i + 1] for image in pair)) for pair in (template, search)), modality[i : i + 1]
        )
        torch.testing.assert_close(alone.score_map, together.score_map[i : i + 1], atol=1e-5, rtol=1e-4)


def test_modalities_interact_only_in_interaction_layers(student):
    template, search, modality = inputs(1)
    changed = search._replace(aux=255 - search.aux)
    before, after = (student(template, s, modality).features for s in (search, changed))
    assert torch.equal(before["block01/rgb"], after["block01/rgb"])  # in block 1, modalities do not interact
    assert not torch.allclose(before["block02/rgb"], after["block02/rgb"])  # block 2 is joint


def test_the_modality_selects_only_the_embedding_of_the_auxiliary_stream(student):
    template, search, _ = inputs(1)
    thermal, depth = (student(template, search, torch.tensor([modality_index(m)])).features for m in ("rgbt", "rgbd"))
    assert torch.equal(thermal["block01/rgb"], depth["block01/rgb"])
    assert not torch.allclose(thermal["block01/aux"], depth["block01/aux"])


def test_joint_attention_equals_attention_over_concatenated_tokens(student):
    """The reshape that makes a block joint is the same as concatenating the tokens of both modalities."""
    features = student(*inputs(2)).features
    first = torch.cat([features["block01/rgb"], features["block01/aux"]], dim=1)
    expected = student.encoder.blocks[1](first)
    torch.testing.assert_close(torch.cat([features["block02/rgb"], features["block02/aux"]], dim=1), expected)


def test_normalisation_is_part_of_the_model(student):
    assert not any("mean" in name or "std" in name for name in student.encoder.state_dict())
    white = torch.full((1, 3, 64, 64), 255, dtype=torch.uint8)
    normalised = student.normalize(white)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(normalised[0, :, 0, 0], expected)


def test_wrong_interaction_layer_is_refused():
    with pytest.raises(ValueError, match=r"\[3\].*1 to 2"):
        build_model(load_config("transcmd", "debug", ["MODEL.BACKBONE.INTERACTION_LAYERS=[2,3]"]))


@pytest.mark.parametrize("name", FUSIONS)
def test_fusions_have_gradients_with_a_blank_modality(name):
    fusion = FUSIONS[name].build(16, 4, 8)
    rgb = torch.randn(2, 20, 16, requires_grad=True)
    fused, _ = fusion(rgb, torch.zeros(2, 20, 16))
    assert fused.shape == (2, 16, 16)
    fused.square().sum().backward()
    assert torch.isfinite(rgb.grad).all() and rgb.grad[:, 4:].abs().sum() > 0
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in fusion.parameters())


def test_simple_fusion_starts_as_the_mean():
    fusion = FUSIONS["simple"].build(16, 4, 8)
    rgb, aux = torch.randn(2, 20, 16), torch.randn(2, 20, 16)
    torch.testing.assert_close(fusion(rgb, aux)[0], (rgb + aux)[:, 4:] / 2)


@pytest.mark.parametrize("name", HEADS)
def test_heads_stay_in_float32_under_autocast(name):
    head = HEADS[name](16, 16).eval()
    with torch.autocast("cpu", torch.bfloat16):
        maps = head(torch.randn(2, 16, 4, 4) * 100)
    assert all(m.dtype == torch.float32 for m in maps)
    assert maps[0].min() >= 1e-4 and maps[0].max() <= 1 - 1e-4  # bfloat16 would round the upper end to 1


@pytest.mark.parametrize("name", VARIANTS)
def test_heads_divide_the_width(name):
    assert VARIANTS[name].width % VARIANTS[name].heads == 0
    assert VARIANTS[name].width % 4 == 0  # sines and cosines of two axes


def test_decoding_inverts_encoding_of_boxes():
    boxes = torch.rand(64, 4, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01
    height, width = 5, 8
    grid = torch.tensor([width, height])
    corner = (boxes[:, :2] * grid).round().minimum(grid - 1)
    size_map = boxes[:, 2:, None, None].expand(-1, -1, height, width)
    offset_map = (boxes[:, :2] * grid - corner)[:, :, None, None].expand(-1, -1, height, width)
    torch.testing.assert_close(decode(encode_score(boxes, height, width), size_map, offset_map), boxes)


def test_numpy_and_torch_decode_to_equal_boxes():
    generator = torch.Generator().manual_seed(1)
    score, size, offset = (torch.rand(1, c, 6, 9, generator=generator) for c in (1, 2, 2))
    box, peak = decode_peak(score[0, 0].numpy(), size[0].numpy(), offset[0].numpy(), np.ones((6, 9)))
    np.testing.assert_allclose(box, decode(score, size, offset)[0].numpy(), atol=1e-6)
    assert peak == pytest.approx(score.max().item())


def test_window_prefers_the_middle_and_is_never_zero():
    window = hann_window(8, 8)
    assert window.min() > 0
    assert window.argmax() in (27, 28, 35, 36)
    np.testing.assert_allclose(window, window.T)
    np.testing.assert_allclose(window, window[::-1, ::-1])
    score = np.zeros((8, 8))
    score[0, 0], score[4, 4] = 0.6, 0.5
    _, peak = decode_peak(score, np.zeros((2, 8, 8)), np.zeros((2, 8, 8)), window)
    assert peak == 0.5  # the score itself, without the window


def test_score_target_is_one_in_the_centre_cell_only():
    target = encode_score(torch.tensor([[0.5, 0.5, 0.6, 0.6], [0.03, 0.97, 0.1, 0.2]]), 16, 16)
    assert (target == 1).flatten(1).sum(1).tolist() == [1, 1]
    assert target[0, 0, 8, 8] == 1 and target[1, 0, 15, 0] == 1
    assert 0 < target[0, 0, 8, 9] < 1 and target[0, 0, 0, 0] == 0


@pytest.mark.parametrize(("w", "h"), [(1, 1), (2, 2), (4, 7), (16, 3), (16, 16)])
def test_gaussian_radius_equals_that_of_cornernet(w, h):
    def root(a, b, c):
        return (b + math.sqrt(b * b - 4 * a * c)) / 2  # as CornerNet's code has it, without division by a

    expected = min(
        root(1, w + h, w * h * 0.3 / 1.7), root(4, 2 * (w + h), 0.3 * w * h), root(2.8, -1.4 * (w + h), -0.3 * w * h)
    )
    assert gaussian_radius(torch.tensor([[w, h]], dtype=torch.float32)).item() == pytest.approx(expected, rel=1e-4)


def test_patch_embedding_is_a_linear_map_of_patches(student):
    image = torch.randn(1, 3, 32, 32)
    tokens = student.encoder.patch_embed(image)
    patches = functional.unfold(image, 16, stride=16).transpose(1, 2)
    expected = patches @ student.encoder.patch_embed.proj.weight.flatten(1).T + student.encoder.patch_embed.proj.bias
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


# weights


def test_report_names_every_key_that_does_not_fit(student):
    net = dict(student.state_dict())
    net["extra"] = torch.zeros(1)
    net["modality_embed"] = torch.zeros(2, 64)
    del net["encoder.norm.weight"]
    other = build_model(load_config("transcmd", "debug"))
    report = load_fitting(other, net, "file")
    assert report.missing == ["encoder.norm.weight"] and report.unused == ["extra"]
    assert report.mismatched == ["modality_embed (2, 64) in the file, (4, 64) in the model"]
    torch.testing.assert_close(other.encoder.norm.bias, student.encoder.norm.bias)
    assert torch.equal(other.encoder.blocks[0].attn.qkv.weight, student.encoder.blocks[0].attn.qkv.weight)
    with pytest.raises(ValueError, match="different architecture.*modality_embed"):
        load_exact(other, net, "file")


def test_weights_without_any_matching_key_are_an_error(student):
    with pytest.raises(ValueError, match="file: no tensor fits"):
        load_fitting(student, {"a": torch.zeros(1)}, "file")


class Settings:
    """Represents the settings that OSTrack stores in its checkpoints with pickle."""

    def __reduce__(self):
        return (print, ("this code must never run",))


def test_checkpoint_that_needs_code_is_refused_without_running_it(tmp_path, capsys):
    path = tmp_path / "ostrack.pth.tar"
    torch.save({"net": {"a": torch.zeros(1)}, "settings": Settings()}, path)
    with pytest.raises(ValueError, match=r"ostrack\.pth\.tar: refused.*would run code"):
        read_checkpoint(path)
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize("keep", [0, 1, 100, 5000, -200, -1])
def test_truncated_checkpoint_is_named(tmp_path, student, keep):
    buffer = io.BytesIO()
    torch.save({"net": student.state_dict()}, buffer)
    path = tmp_path / "cut.pth.tar"
    path.write_bytes(buffer.getvalue()[:keep])
    with pytest.raises(ValueError, match=r"cut\.pth\.tar: not a checkpoint, or cut off"):
        read_checkpoint(path)


def test_a_file_that_is_not_a_checkpoint_is_named(tmp_path):
    path = tmp_path / "x.pth"
    path.write_text("hello")
    with pytest.raises(ValueError, match="x.pth"):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="expected a dictionary"):
        read_checkpoint(path)
    torch.save({"net": {"a": 1}}, path)
    with pytest.raises(ValueError, match="contains no network"):
        read_net(path)
    path.write_bytes(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(ValueError, match="x.pth"):
        read_net(path)
    with pytest.raises(FileNotFoundError, match="absent.pth"):
        read_checkpoint(tmp_path / "absent.pth")
