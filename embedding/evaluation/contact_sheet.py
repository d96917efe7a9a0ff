"""Contact sheet: an image of each query and its nearest listings."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

TILE, CAPTION, GAP = 200, 40, 12
BACKGROUND, INK, ACCENT = "#ffffff", "#202124", "#1a73e8"

Cell = tuple[Image.Image, str, str]
"""Image, first caption line, second caption line."""


def contact_sheet(rows: list[list[Cell]], path: Path) -> None:
    """Write a PNG with one row per query; the first cell of a row is the query itself."""
    columns = max(len(row) for row in rows)
    size = (GAP + columns * (TILE + GAP), GAP + len(rows) * (TILE + CAPTION + GAP))
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for row_number, row in enumerate(rows):
        for column, (picture, first, second) in enumerate(row):
            x, y = GAP + column * (TILE + GAP), GAP + row_number * (TILE + CAPTION + GAP)
            sheet.paste(ImageOps.fit(picture, (TILE, TILE)), (x, y))
            if column == 0:
                draw.rectangle((x - 3, y - 3, x + TILE + 2, y + TILE + 2), outline=ACCENT, width=4)
            draw.text((x, y + TILE + 4), _shorten(first, font), INK, font)
            draw.text((x, y + TILE + 20), _shorten(second, font), ACCENT if column == 0 else INK, font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _shorten(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= TILE:
        return text
    while text and font.getlength(text + "…") > TILE:
        text = text[:-1]
    return text + "…"
