"""Nothing is compiled anew for what the preset has warmed: `python -m newbie_ui.bench.shapes`.

Opens the engine with the first preset, lets it compile its sizes and caption lengths while idle, then makes pictures
of all of them and counts graphs. The last line is JSON.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from newbie_ui.bench.setup import Bench, run_command, wait_until_warm
from newbie_ui.engine.compile import graphs_built, seconds_compiling
from newbie_ui.engine.local import LocalEngine
from newbie_ui.engine.stages import WARM_BUCKETS, shapes_to_warm


def measure_shapes(bench: Bench, engine: LocalEngine) -> dict[str, Any]:
    started = time.perf_counter()
    wait_until_warm(engine)
    waited, compiling = time.perf_counter() - started, seconds_compiling()
    shapes = shapes_to_warm(engine.rig.plan, engine.model.sizes)
    bench.say(f"{len(shapes)} shapes were warm {waited:.1f} s after loading, {compiling:.1f} s of it compiling")
    prompts = {bucket: _prompt_for(engine, bucket) for bucket in WARM_BUCKETS}
    before, pictures = graphs_built(), []
    for shape in shapes:
        size, preset = (shape.width, shape.height), bench.presets[0].name
        result = bench.picture(engine, preset, prompts[shape.bucket], size)[-1]
        pictures.append(
            {
                "size": size,
                "tokens": shape.bucket,
                "compile": result.facts["compile"],
                "seconds": result.timings.total_s,
            }
        )
        bench.say(f"{size[0]}×{size[1]}, up to {shape.bucket} tokens: {result.facts['compile']}")
    recompiled = graphs_built() - before
    bench.say(f"{recompiled} graphs compiled anew")
    return {
        "preset": bench.presets[0].name,
        "shapes": len(shapes),
        "warm_s": waited,
        "compile_s": compiling,
        "recompiled": recompiled,
        "pictures": pictures,
    }


def _prompt_for(engine: LocalEngine, bucket: int) -> str:
    """A prompt that needs this caption length, with an empty negative one: tags are added until it does."""
    system = engine.model.defaults.get("system_prompt", "")
    text = "blue_hair"
    while engine.rig.bucket_for([tokens + 1 for tokens in engine.count_tokens([f"{system} {text}", ""])]) < bucket:
        text += " smile"
    return text


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("python -m newbie_ui.bench.shapes", __doc__, measure_shapes, argv)


if __name__ == "__main__":
    sys.exit(main())
