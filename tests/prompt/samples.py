# ruff: noqa: E501
"""Texts that many tests use."""

OFFICIAL = """<character_1>
<n>$character_1$</n>
<gender>1girl</gender>
<appearance>chibi, red_eyes, blue_hair, long_hair, hair_between_eyes, head_tilt, tareme, closed_mouth</appearance>
<clothing>school_uniform, serafuku, white_sailor_collar, white_shirt, short_sleeves, red_neckerchief, bow, blue_skirt</clothing>
<expression>happy, smile</expression>
<action>standing, holding, holding_briefcase</action>
<position>center_left</position>
</character_1>

<character_2>
<n>$character_2$</n>
<gender>1girl</gender>
<appearance>chibi, red_eyes, pink_hair, long_hair, very_long_hair, multi-tied_hair, open_mouth</appearance>
<clothing>school_uniform, serafuku, white_sailor_collar, white_shirt, short_sleeves, red_neckerchief, bow, red_skirt, hair_bow</clothing>
<expression>happy, smile</expression>
<action>standing, holding, waving</action>
<position>center_right</position>
</character_2>

<general_tags>
<count>2girls, multiple_girls</count>
<style>anime_style, digital_art</style>
<background>white_background, simple_background</background>
<atmosphere>cheerful</atmosphere>
<quality>high_resolution, detailed</quality>
<objects>briefcase</objects>
<other>alternate_costume</other>
</general_tags>
"""

SYSTEM = (
    "You are an assistant designed to generate high-quality anime images with the highest degree of image-text "
    "alignment based on xml format textual prompts. <Prompt Start>"
)

COMFY = (
    SYSTEM
    + '\n{ "character_1": { "bbox": [0,0,500,1000], "name": "$character_1$" }, "image": { "tags": "'
    + OFFICIAL
    + '", "caption": "Two girls stand side by side." } }'
)

NASTY = {
    "empty": "",
    "space": " \r\n\t ",
    "emoticons": "<character_1>\n<n>a</n>\n<expression>>_<, <o>_<o>, :<, ;), <3, </3, ^_^, <|>_<|></expression>\n</character_1>",
    "ampersand": "<general_tags><style>black & white, &amp;, a<b>c</style></general_tags>",
    "crlf": OFFICIAL.replace("\n", "\r\n"),
    "lone_cr": OFFICIAL.replace("\n", "\r"),
    "chinese": "<character_1>\n<n>初音未来</n>\n<外貌>蓝发，双马尾</外貌>\n</character_1>\n两个女孩在樱花树下。",
    "japanese": "<character_1><n>$character_1$</n><appearance>青髪、ツインテール</appearance></character_1>",
    "missing_close_field": "<character_1>\n<n>$character_1$</n>\n<appearance>red_eyes\n<clothing>dress</clothing>\n</character_1>",
    "missing_close_block": "<character_1>\n<gender>1girl</gender>\n\n<character_2>\n<gender>1boy</gender>\n</character_2>",
    "missing_close_all": "<character_1>\n<appearance>blue_hair",
    "wrong_close": "<character_1><appearance>red_eyes</apperance><clothing>dress</appearance></character_2>",
    "spelling": "<Character 1><N>$character_1$</N><Gender>1girl</Gender></Character 1><general tags><Count>1girl</Count></general tags>",
    "wrapper": "<image>\n<caption>two girls</caption>\n<character_1><gender>1girl</gender></character_1>\n</image>",
    "unclosed_wrapper": "<img><character_1><gender>1girl</gender></character_1>",
    "braces": "{\n" + OFFICIAL + "}\n",
    "comfy": COMFY,
    "free": "1girl, blue_hair, long_hair, smile, looking at viewer",
    "sentence": "A girl stands in the rain & looks up <3",
    "around": "style of mikozin\n" + OFFICIAL + "\nbest quality, <danbooru_tags>rain, night</danbooru_tags> end",
    "system": SYSTEM + "\n" + OFFICIAL,
    "system_comma": SYSTEM + "," + OFFICIAL,
    "duplicate_ids": "<character_1><n>a</n></character_1><character_1><n>b</n></character_1>",
    "no_number": "<character><gender>1girl</gender></character>",
    "named": "<?xml version='1.0'?>\n<document><aoi><name>aoi</name><gender>1girl</gender></aoi><general_tags><count>1girl</count></general_tags></document>",
    "inset": "<inset_panel><character_1><gender>1girl</gender></character_1></inset_panel>",
    "bare_block": "<character_1>1girl, blue_hair</character_1>",
    "attributes": "<character_1 name=\"Aoi\"><appearance weight='2'>blue_hair</appearance></character_1>",
    "self_closing": "<character_1><n>a</n><action/></character_1><character_2/>",
    "comment": "<!-- mine --><character_1><n>a</n></character_1>",
    "stray": "</character_1></general_tags></foo><n></n>",
    "brackets": "<<<<>>>><</></ ><character_1<character_1>",
    "late_start": "<character_1><n>a</n></character_1><Prompt Start>",
    "lora": "<lora:style:0.8>, <character_1><appearance>a</appearance></character_1>",
    "surrogate": "\ud800<n>\udfff</n>\U0001f600",
    "nested": "<style><artist>a</artist></style>",
    "own_way_unclosed": "<aoi><n>a</n><general_tags><n>b</aoi>",
    "text_in_block": "<character_1>\nsome text\n<n>a</n>, more\n</character_1>",
}

# What random texts are made of.
PIECES = [
    "<character_1>",
    "</character_1>",
    "<character 2>",
    "</character_2>",
    "<Character_1>",
    "<general_tags>",
    "</general tags>",
    "<n>",
    "</n>",
    "<appearance>",
    "</appearance>",
    "<clothing>",
    "<foo>",
    "</foo>",
    "<image>",
    "</image>",
    "<caption>",
    "</caption>",
    "<o>_<o>",
    ">_<",
    ":<",
    "<3",
    "&",
    "&lt;",
    "\\(blue archive\\)",
    "<Prompt Start>",
    "{",
    "}",
    '"tags": "',
    "\r\n",
    "\n",
    "\r",
    " ",
    "blue_hair, ",
    "青髪",
    "😀",
    "\u2028",
    "\ud800",
    "<",
    ">",
    "</",
    "/>",
    "<action/>",
    "<aoi>",
    "</aoi>",
    "<gender>",
    "</gender>",
    "<!--",
    "-->",
    "<?xml ?>",
    "</n",
    "<clothing",
    "</charcter_1>",
]
