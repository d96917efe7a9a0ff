"""A contact sheet: each query and its nearest listings, as a picture."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

TILE, CAPTION, GAP = 200, 40, 12
BACKGROUND, INK, ACCENT = "#ffffff", "#202124", "#1a73e8"

Cell = tuple[Image.Image, str, str]
"""Picture, first line, second line."""


def contact_sheet(rows: list[list[Cell]], path: Path) -> None:
    """Write a PNG with one line per query; the first cell of a line is the query itself."""
    columns = max(len(row) for row in rows)
    size = (GAP + columns * (TILE + GAP), GAP + len(rows) * (TILE + CAPTION + GAP))
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for line, row in enumerate(rows):
        for column, (picture, first, second) in enumerate(row):
            x, y = GAP + column * (TILE + GAP), GAP + line * (TILE + CAPTION + GAP)
            sheet.paste(ImageOps.fit(picture, (TILE, TILE)), (x, y))
            if column == 0:
                draw.rectangle((x - 3, y - 3, x + TILE + 2, y + TILE + 2), outline=ACCENT, width=4)
            draw.text((x, y + TILE + 4), _fitted(first, font), INK, font)
            draw.text((x, y + TILE + 20), _fitted(second, font), ACCENT if column == 0 else INK, font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _fitted(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= TILE:
        return text
    while text and font.getlength(text + "…") > TILE:
        text = text[:-1]
    return text + "…"
