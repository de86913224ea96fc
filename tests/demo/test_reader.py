"""What the reader looks at: in training pictures spoiled so mildly that no label lies, then several views of each."""

import torch

from newbie_ui.demo import evaluate
from newbie_ui.demo.reader import _spoil, _views, read
from newbie_ui.demo.weights_folder import load_reader


def spoiled(images, seed=0):
    torch.manual_seed(seed)
    return _spoil(images, torch.Generator().manual_seed(seed))


def test_every_image_is_spoiled_in_its_own_strength():
    images = torch.zeros(64, 3, 64, 64)
    change = (spoiled(images) - images).flatten(1).std(dim=1)
    assert bool((change < 0.005).any())  # in a grey picture only noise shows, and some have none
    assert 0.03 < change.max() < 0.2
    assert change.unique().numel() > 16


def test_nothing_moves_further_than_three_pixels():
    images = torch.full((64, 3, 256, 256), -1.0)
    images[:, :, 100:121, 140:161] = 1
    bright = spoiled(images).mean(dim=1).add(1).relu() ** 4  # the square counts, not the noise around it
    places = torch.arange(256.0)
    y = (bright.sum(dim=2) * places).sum(dim=1) / bright.sum(dim=(1, 2))
    x = (bright.sum(dim=1) * places).sum(dim=1) / bright.sum(dim=(1, 2))
    assert (y - 110).abs().max() < 3
    assert (x - 150).abs().max() < 3
    assert (y - 110).abs().max() > 0.5


def test_spoiled_drawings_are_still_read():
    scenes = evaluate.held_out_scenes(2, 24)
    images = spoiled(evaluate.to_model(evaluate.draw(scenes)))
    assert images.abs().max() <= 1
    score = evaluate.grade_pictures(load_reader(), scenes, images)
    for name in ("count", "hair", "colour", "expression", "action"):
        assert score.percent(name) >= 90, name


def test_a_picture_is_read_from_all_sides():
    image = torch.full((1, 3, 64, 64), -1.0)
    image[..., 20:30, 40:50] = 1
    views = torch.cat(list(_views(image)))
    bright, places = (views + 1).mean(dim=1), torch.arange(64.0)
    weights = bright.sum(dim=(1, 2))
    x = (bright.sum(dim=1) * places).sum(dim=1) / weights - 44.5
    y = (bright.sum(dim=2) * places).sum(dim=1) / weights - 24.5
    assert x.round().tolist() == [0, 2, -2, 0, 0, 0, 0]
    assert y.round().tolist() == [0, 0, 0, 2, -2, 0, 0]
    assert views.abs().max() <= 1
    assert len({float(view.std()) for view in views[[0, 5]]}) == 2


def test_what_is_read_is_the_mean_of_the_views():
    reader, images = load_reader(), evaluate.to_model(evaluate.draw(evaluate.held_out_scenes(2, 2)))
    seen = []
    reader.register_forward_hook(lambda module, args, answers: seen.append([part.clone() for part in answers]))
    found = read(reader, images)
    assert len(seen) == 7
    means = [torch.stack(parts).mean(dim=0) for parts in zip(*seen)]
    once = read(lambda _: means, images)  # whoever answers the same each time
    assert found == once
