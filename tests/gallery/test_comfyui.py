"""ComfyUI graphs: walked from the saved picture, never scanned."""

from __future__ import annotations

import copy
import json
import time

import pytest

from newbie_ui.gallery.foreign import comfyui
from newbie_ui.gallery.foreign.characters import characters_in
from newbie_ui.gallery.metadata import read_text


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


GRAPH = {
    "1": node("CheckpointLoaderSimple", ckpt_name="dir\\model_v1.safetensors"),
    "2": node("CLIPTextEncode", text="a girl", clip=["1", 1]),
    "3": node("CLIPTextEncode", text="bad", clip=["1", 1]),
    "4": node("EmptyLatentImage", width=640, height=832, batch_size=1),
    "5": node(
        "KSampler",
        seed=11,
        steps=20,
        cfg=5.5,
        sampler_name="euler",
        scheduler="karras",
        denoise=1.0,
        model=["1", 0],
        positive=["2", 0],
        negative=["3", 0],
        latent_image=["4", 0],
    ),
    "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
    "7": node("SaveImage", images=["6", 0]),
}


def read(graph=None, workflow=None, **changes):
    data = copy.deepcopy(GRAPH if graph is None else graph)
    data.update(changes)
    return comfyui.read(json.dumps(data), workflow)


def changed(key: str, **inputs):
    entry = copy.deepcopy(GRAPH[key])
    entry["inputs"].update(inputs)
    return {key: entry}


def test_the_plain_graph_reads_whole():
    found = read()
    assert (found.prompt, found.negative, found.seed, found.steps, found.cfg) == ("a girl", "bad", 11, 20, 5.5)
    assert (found.sampler, found.scheduler, found.width, found.height) == ("euler", "karras", 640, 832)
    assert (found.model, found.loras, found.problems) == ("model_v1", (), ())


def test_a_copied_graph_request_or_workflow_is_read_from_text():
    for copied, seed in ((GRAPH, 11), ({"prompt": GRAPH, "client_id": "x"}, 11), (WORKFLOW, 424242)):
        found = read_text(json.dumps(copied))
        assert (found.program, found.prompt, found.seed) == ("ComfyUI", "a girl", seed)
    for other in ("a girl", "{a|b}", "{", '{"prompt": "a girl"}', "[]", '{"nodes": 5}'):
        assert read_text(other) is None


def test_decoys_that_reach_no_saved_picture_are_ignored():
    decoy = changed("5", seed=666, positive=["3", 0])["5"]
    assert read({"0": decoy, **GRAPH}).seed == 11


def test_the_first_pass_is_read_and_the_last_is_told_as_hires():
    more = {
        "8": node("LatentUpscaleBy", samples=["5", 0], scale_by=1.5),
        "9": changed("5", seed=99, steps=8, cfg=3.0, denoise=0.4, latent_image=["8", 0], positive=["3", 0])["5"],
    }
    found = read(**more, **changed("6", samples=["9", 0]))
    assert (found.seed, found.prompt, found.width) == (11, "a girl", 640)
    assert found.hires == {"steps": 8, "denoise": 0.4, "cfg": 3.0}


def test_nan_in_the_graph_is_no_damage():
    text = json.dumps({**GRAPH, "7": {**GRAPH["7"], "is_changed": [float("nan")]}})
    assert "NaN" in text
    found = comfyui.read(text, None)
    assert (found.seed, found.partial) == (11, False)


def test_seeds_up_to_the_largest_are_exact():
    assert read(**changed("5", seed=2**64 - 1)).to_json()["seed"] == "18446744073709551615"


def test_values_behind_links_are_found():
    more = {
        "20": node("PrimitiveInt", value=1216),
        "21": node("Seed (any)", seed=77),
        "22": node("SDXL size", resolution="832x1216 (0.68)"),
    }
    found = read(**more, **changed("4", width=["22", 0], height=["20", 0]), **changed("5", seed=["21", 0]))
    assert (found.seed, found.width, found.height) == (77, 832, 1216)


def test_reroutes_are_walked_through_and_circles_end():
    more = {"20": node("Reroute", **{"": ["2", 0]}), "21": node("Reroute", x=["21", 0])}
    assert read(**more, **changed("5", positive=["20", 0])).prompt == "a girl"
    assert read(**more, **changed("5", positive=["21", 0])).prompt is None
    assert read(**changed("6", samples=["6", 0])).problems
    loop = {"2": node("ConditioningSetArea", conditioning=["2", 0])}
    assert read(**loop).prompt is None


def test_custom_sampling_is_gathered_from_its_nodes():
    graph = {
        **{key: GRAPH[key] for key in "1234"},
        "10": node("RandomNoise", noise_seed=5),
        "11": node("CFGGuider", cfg=4.0, model=["1", 0], positive=["2", 0], negative=["3", 0]),
        "12": node("KSamplerSelect", sampler_name="dpmpp_2m"),
        "13": node("KarrasScheduler", steps=14, sigma_max=14.6),
        "14": node("SplitSigmas", sigmas=["13", 0], step=3),
        "15": node(
            "SamplerCustomAdvanced",
            noise=["10", 0],
            guider=["11", 0],
            sampler=["12", 0],
            sigmas=["14", 0],
            latent_image=["4", 0],
        ),
        "16": node("SaveImage", images=["15", 0]),
    }
    found = read(graph)
    assert (found.seed, found.cfg, found.sampler, found.scheduler, found.steps) == (5, 4.0, "dpmpp_2m", "karras", 14)
    assert (found.prompt, found.negative, found.model, found.width) == ("a girl", "bad", "model_v1", 640)


def test_a_guider_without_negative_states_that_there_is_none():
    graph = {
        **{key: GRAPH[key] for key in "124"},
        "11": node("BasicGuider", model=["1", 0], conditioning=["2", 0]),
        "15": node("SamplerCustomAdvanced", noise=["10", 0], guider=["11", 0], latent_image=["4", 0]),
        "10": node("RandomNoise", noise_seed=5),
        "16": node("PreviewImage", images=["15", 0]),
    }
    found = read(graph)
    assert (found.prompt, found.negative, found.cfg) == ("a girl", "", None)


def test_zeroed_conditioning_is_no_negative():
    found = read(**{"3": node("ConditioningZeroOut", conditioning=["2", 0])})
    assert (found.prompt, found.negative) == ("a girl", "")


def test_conditioning_passes_through_nodes_with_both_sides():
    control = node("ControlNetApplyAdvanced", positive=["2", 0], negative=["3", 0], strength=1)
    found = read(**{"8": control}, **changed("5", positive=["8", 0], negative=["8", 1]))
    assert (found.prompt, found.negative) == ("a girl", "bad")


def test_combined_prompts_stand_on_lines_of_their_own_and_it_is_told():
    more = {"8": node("ConditioningCombine", conditioning_1=["2", 0], conditioning_2=["3", 0])}
    found = read(**more, **changed("5", positive=["8", 0]))
    assert found.prompt == "a girl\nbad"
    assert "ConditioningCombine" in found.notes[0]


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"text_g": "one", "text_l": "one"}, "one"),
        ({"text_g": "one", "text_l": "two"}, "one\ntwo"),
        ({"clip_l": "short", "t5xxl": "long words"}, "long words\nshort"),
        ({"text_g": "", "text_l": ""}, ""),
    ],
)
def test_encoders_with_two_texts(inputs, text):
    assert read(**{"2": node("CLIPTextEncodeX", clip=["1", 1], **inputs)}).prompt == text


def test_texts_are_put_together_as_the_graph_does():
    more = {
        "20": node("PrimitiveStringMultiline", value="one {x}"),
        "21": node("StringReplace", string=["20", 0], find="{x}", replace="two"),
        "22": node("StringConcatenate", string_a=["21", 0], string_b="three", delimiter=", "),
        "23": node("Text Concatenate", text_a=["22", 0], text_b="four", delimiter=" | "),
        "24": node("CaseConverter", string=["23", 0], mode="UPPERCASE"),
        "25": node("StringTrim", string=["24", 0], mode="Both"),
    }
    assert read(**more, **changed("2", text=["25", 0])).prompt == "ONE TWO, THREE | FOUR"


def test_what_a_language_model_wrote_is_taken_from_where_it_was_shown():
    writer = node("LLM_Prompt_Formatter", api_key="sk-secret", user_text="write me a prompt", thinking=False)
    shown = node("ShowText|pysssss", text=["20", 0], text_0="the written prompt")
    found = read(**{"20": writer, "21": shown}, **changed("2", text=["20", 0]))
    assert found.prompt == "the written prompt"
    assert read(**{"20": writer, "21": shown}, **changed("2", text=["21", 0])).prompt == "the written prompt"
    unseen = read(**{"20": writer}, **changed("2", text=["20", 0]))
    assert unseen.prompt is None
    assert "LLM_Prompt_Formatter" in unseen.problems[0]


def test_wildcard_nodes_give_both_texts():
    encoder = node("ImpactWildcardEncode", populated_text="red", wildcard_text="{red|blue}", clip=["1", 1])
    found = read(**{"2": encoder})
    assert (found.prompt, found.original_prompt) == ("red", "{red|blue}")


def test_system_prompts_are_cut_off_behind_the_mark():
    found = read(**changed("2", text="You are. <Prompt Start>\nno <Prompt Start> <a/>"))
    assert (found.prompt, found.system_prompt) == ("<a/>", "You are. <Prompt Start>\nno <Prompt Start>")
    newbie = node("NewBieCLIPTextEncode", user_prompt="p", system_prompt="Sys <Prompt Start>", clip=["1", 1])
    found = read(**{"2": newbie})
    assert (found.prompt, found.system_prompt) == ("p", "Sys <Prompt Start>")
    lumina = node("CLIPTextEncodeLumina2", user_prompt="p", system_prompt="superior", clip=["1", 1])
    assert read(**{"2": lumina}).system_prompt.startswith("You are an assistant designed to generate superior")


def test_every_way_to_put_on_loras_is_read_in_order_without_those_switched_off():
    more = {
        "20": node("LoraLoader", model=["1", 0], lora_name="d/a.safetensors", strength_model=0.5, strength_clip=1),
        "21": node("NewBieLoraModelOnly", model=["20", 0], lora_name="b.pt", strength=0.6, enabled=True),
        "22": node("NewBieLoraLoader", model=["21", 0], lora_name="off", strength=0.6, enabled=False),
        "23": node(
            "NewBieLoraLoaderMulti",
            model=["22", 0],
            lora_name_1="c",
            strength_1=0.7,
            enabled_1=True,
            lora_name_2="off",
            strength_2=1,
            enabled_2=False,
        ),
        "24": node("Power Lora Loader", model=["23", 0], lora_1={"on": True, "lora": "d_1.0", "strength": 0.8}),
        "25": node("Lora Stack", model=["24", 0], lora_01="e", strength_01=0.9, lora_02="None", strength_02=1),
        "26": node("ModelSamplingNewbie", model=["25", 0], shift=6.0),
        "27": node("ModelSamplingSD3", model=["26", 0], shift=3.0),
    }
    found = read(**more, **changed("5", model=["27", 0]))
    assert found.loras == (("a", 0.5), ("b", 0.6), ("c", 0.7), ("d_1.0", 0.8), ("e", 0.9))
    assert (found.shift, found.model) == (3.0, "model_v1")


def test_newbie_builders_are_rebuilt_from_their_fields():
    more = {
        "20": node(
            "NewBieCharacterBuilder", character_number=1, name="miku", gender="1girl", appearance="aqua hair, <3"
        ),
        "21": node(
            "NewBieQuickCharacter", character_number=1, character_text="[name] rin\n[gender] 1girl\n[Action] run"
        ),
        "22": node("NewBieCharacterCombiner", char_1=["20", 0], char_3=["21", 0]),
        "23": node("NewBieGeneralTagsBuilder", count="2girls", quality="best", lighting=""),
        "24": node(
            "NewBieXMLPromptAssembler",
            caption="Two friends.",
            style_prefix="ink",
            character_1=["22", 0],
            general_tags=["23", 0],
        ),
    }
    prompt = read(**more, **changed("2", text=["24", 0])).prompt
    assert prompt.startswith("<style>ink</style>\n\n<image>\n<caption>Two friends.</caption>\n<character_1>")
    assert "<count>2girls</count>\n<quality>best</quality>" in prompt
    assert [c.text for c in characters_in(prompt)] == ["miku, 1girl, aqua hair, <3", "rin, 1girl, run"]


def test_fragments_in_slots_and_the_all_in_one_node_are_rebuilt_too():
    more = {
        "20": node("Character Node", name="aoi (x)", gender="1girl", appearance="blue_hair"),
        "21": node("General Tag Builder", count="1girl"),
        "22": node("XML Assembler (slots)", slot_2=["20", 0], slot_11=["21", 0]),
    }
    found = characters_in(read(**more, **changed("2", text=["22", 0])).prompt)
    assert [c.text for c in found] == ["aoi (x), 1girl, blue_hair"]
    simple = node(
        "NewBieTextToXMLPrompt", caption="c", char1_name="x", char1_gender="1boy", count="1boy", style_prefix=""
    )
    found = read(**{"20": simple}, **changed("2", text=["20", 0])).prompt
    assert found.startswith("<image>\n<caption>c</caption>\n<character_1>\n<n>x</n>\n<gender>1boy</gender>")


# ---- the editor's state -------------------------------------------------------------------------------------------


def widget_node(id, kind, values, inputs=(), mode=0, outputs=()):
    entries = [{"name": name, "type": type, "link": link} for name, type, link in inputs]
    outs = [{"type": type} for type in outputs]
    return {"id": id, "type": kind, "mode": mode, "widgets_values": values, "inputs": entries, "outputs": outs}


WORKFLOW = {
    "nodes": [
        widget_node(1, "UNETLoader", ["m.gguf", "default"]),
        widget_node(8, "LoraLoaderModelOnly", ["l.safetensors", 0.4], [("model", "MODEL", 1)], outputs=["MODEL"]),
        widget_node(2, "CLIPTextEncode", ["a girl"]),
        widget_node(3, "CLIPTextEncode", ["bad"]),
        widget_node(4, "EmptySD3LatentImage", [640, 832, 1]),
        widget_node(
            5,
            "KSampler",
            [1, "randomize", 20, 5.5, "euler", "simple", 1],
            [
                ("model", "MODEL", 2),
                ("positive", "CONDITIONING", 3),
                ("negative", "CONDITIONING", 4),
                ("latent_image", "LATENT", 5),
                ("seed", "INT", 8),
            ],
        ),
        widget_node(6, "VAEDecode", [], [("samples", "LATENT", 6)]),
        widget_node(7, "SaveImage", ["x"], [("images", "IMAGE", 7)]),
        widget_node(9, "PrimitiveNode", [424242, "fixed"]),
        widget_node(10, "Note", ["not a prompt"]),
    ],
    "links": [
        [1, 1, 0, 8, 0, "MODEL"],
        [2, 8, 0, 5, 0, "MODEL"],
        [3, 2, 0, 5, 1, "CONDITIONING"],
        [4, 3, 0, 5, 2, "CONDITIONING"],
        [5, 4, 0, 5, 3, "LATENT"],
        [6, 5, 0, 6, 0, "LATENT"],
        [7, 6, 0, 7, 0, "IMAGE"],
        [8, 9, 0, 5, 4, "INT"],
    ],
}


def test_the_editors_state_alone_is_enough_and_linked_widgets_win():
    found = comfyui.read(None, json.dumps(WORKFLOW))
    assert (found.prompt, found.negative, found.seed, found.steps) == ("a girl", "bad", 424242, 20)
    assert (found.model, found.loras, found.width) == ("m", (("l", 0.4),), 640)
    assert "editor" in found.notes[0]


def test_bypassed_nodes_pass_through_and_muted_ones_are_gone():
    data = copy.deepcopy(WORKFLOW)
    data["nodes"][1]["mode"] = 4
    found = comfyui.read(None, json.dumps(data))
    assert (found.loras, found.model) == ((), "m")
    data["nodes"][3]["mode"] = 2
    assert comfyui.read(None, json.dumps(data)).negative in (None, "")


def test_subgraphs_are_opened():
    inner = {
        "id": "abc-def",
        "nodes": [widget_node(1, "StringConcatenate", ["", "girl", " "], [("string_a", "STRING", 1)])],
        "links": [
            {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0},
            {"id": 2, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0},
        ],
    }
    data = copy.deepcopy(WORKFLOW)
    data["definitions"] = {"subgraphs": [inner]}
    data["nodes"][2]["inputs"] = [{"name": "text", "type": "STRING", "link": 20}]
    data["nodes"].append(widget_node(30, "abc-def", [], [("a", "STRING", 21)]))
    data["nodes"].append(widget_node(31, "PrimitiveString", ["one"]))
    data["links"] += [[20, 30, 0, 2, 0, "STRING"], [21, 31, 0, 30, 0, "STRING"]]
    assert comfyui.read(None, json.dumps(data)).prompt == "one girl"


def test_a_subgraph_inside_itself_ends():
    inner = {"id": "s", "nodes": [widget_node(1, "s", []), widget_node(2, "SaveImage", ["x"])], "links": []}
    data = {"nodes": [widget_node(1, "s", [])], "links": [], "definitions": {"subgraphs": [inner]}}
    assert comfyui.read(None, json.dumps(data)).problems


def test_subgraphs_full_of_subgraphs_end_soon():
    nodes = [[widget_node(n, f"s{level + 1}" if level < 7 else "x", [], mode=0 if level < 7 else 2) for n in range(99)]
             for level in range(8)]  # fmt: skip
    subgraphs = [{"id": f"s{level}", "nodes": row, "links": []} for level, row in enumerate(nodes)]
    data = {"nodes": [widget_node(1, "s0", [])], "links": [], "definitions": {"subgraphs": subgraphs}}
    assert _seconds(lambda: comfyui.read(None, json.dumps(data))) < 2


def test_thousands_of_samplers_and_saved_pictures_end_soon():
    text = {"t": node("CLIPTextEncode", text="x")}
    passes = {f"s{n}": node("KSampler", seed=n, positive=["t", 0], latent_image=[f"s{n + 1}", 0]) for n in range(2400)}
    saved = {f"o{n}": node("SaveImage", images=["s0", 0]) for n in range(2400)}
    assert _seconds(lambda: read({**text, **passes, **saved})) < 2
    assert _seconds(lambda: read({**text, **passes})) < 2


def _seconds(call):
    start = time.process_time()
    call()
    return time.process_time() - start


# ---- damage -------------------------------------------------------------------------------------------------------


def test_a_cut_graph_gives_what_is_whole_of_it():
    text = json.dumps(GRAPH)
    found = comfyui.read(text[: text.index('"7"')], None)
    assert found.partial
    assert (found.seed, found.prompt, found.negative, found.width) == (11, "a girl", "bad", 640)
    assert "damaged" in found.problems[0]


def test_a_broken_graph_falls_back_to_the_editors_state():
    found = comfyui.read("{broken", json.dumps(WORKFLOW))
    assert found.partial
    assert found.seed == 424242


def test_nothing_readable_is_told_without_inventing_anything():
    found = comfyui.read("{broken", "[also")
    assert found.partial
    assert (found.prompt, found.seed) == (None, None)
    assert len(found.problems) == 3


@pytest.mark.parametrize(
    "data",
    [
        {"1": 5, "2": {"class_type": 3}, "3": {"class_type": "KSampler", "inputs": []}},
        {"7": node("SaveImage", images=["7", 0])},
        {str(i): node("StringConcatenate", string_a=[str(i + 1), 0], string_b=[str(i + 1), 0]) for i in range(300)},
        {**GRAPH, "2": node("CLIPTextEncode", text=["2", 0])},
        {**GRAPH, "4": node("EmptyLatentImage", width=["4", 0], height=[1, 2, 3])},
        {**GRAPH, "5": {**GRAPH["5"], "inputs": {**GRAPH["5"]["inputs"], "steps": "x", "cfg": None, "model": [9, 9]}}},
    ],
)
def test_odd_graphs_are_no_accident(data):
    read(data).to_json()


def test_text_nodes_that_double_each_other_stay_bounded():
    chain = {
        str(i): node("StringConcatenate", string_a=[str(i + 1), 0], string_b=[str(i + 1), 0]) for i in range(20, 70)
    }
    chain["70"] = node("PrimitiveString", value="x" * 100)
    found = read(**chain, **changed("2", text=["20", 0]))
    assert found.prompt is None or len(found.prompt) <= 100_000
