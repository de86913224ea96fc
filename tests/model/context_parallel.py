"""One of two processes that share the tokens of a picture: run by test_features.py.

python context_parallel.py RANK STORE_FILE RESULT_FILE
"""

import torch
import torch.distributed as dist
from diffusers import ContextParallelConfig

from newbie_ui.model.transformer import NewbieTransformer2DModel
from tests import tiny


def inputs():
    g = torch.Generator().manual_seed(1)
    return {
        "hidden_states": torch.randn(2, 16, 8, 8, generator=g),  # 16 image tokens
        "timestep": torch.tensor([0.2, 0.7]),
        "encoder_hidden_states": torch.randn(2, 10, tiny.WIDTH, generator=g),
        "encoder_attention_mask": torch.arange(10) < torch.tensor([[10], [4]]),
        "pooled_projections": torch.randn(2, tiny.CLIP_WIDTH, generator=g),
    }


def model():
    torch.manual_seed(0)
    return NewbieTransformer2DModel(**{**tiny.TRANSFORMER, "n_kv_heads": 2}).eval()


@torch.no_grad()
def main(rank: int, store: str, result: str) -> None:
    torch.set_num_threads(1)  # the parent's threads do not live on in a fork
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    transformer = model()
    alone = transformer(**inputs()).sample
    torch.accelerator.device_count = lambda: 1  # diffusers divides by the number of cards, which is 0 here
    transformer.enable_parallelism(config=ContextParallelConfig(ulysses_degree=2))
    lengths = []
    transformer.layers[1].register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))
    shared = {}
    for method in ("mask", "channels"):
        transformer.set_padding_method(method)
        shared[method] = (transformer(**inputs()).sample - alone).abs().max().item()
    torch.save({"errors": shared, "lengths": lengths}, f"{result}.{rank}")
    dist.destroy_process_group()
