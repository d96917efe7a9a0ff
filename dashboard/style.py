"""The few looks that Streamlit's own options do not give."""

# Photos come in every shape: in squares they line up, and none is cropped. Buttons of a row stand level.
STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding: 4.5rem clamp(1rem, 3vw, 2.5rem) 3rem; }
[class*="st-key-tile-"] > :last-child { margin-top: auto; }
[class*="st-key-tile-"] img {
    width: 100%; aspect-ratio: 1; object-fit: contain; background: rgba(128, 128, 128, 0.12); border-radius: 0.5rem;
}
[class*="st-key-tile-"] [data-testid="stText"] { font-size: 0.875rem; line-height: 1.4; }
[class*="st-key-tile-"] button { min-height: 1.75rem; padding: 0; }
[class*="st-key-tile-"] button p { font-size: 0.8125rem; text-decoration: underline; text-underline-offset: 0.2em; }
[class*="st-key-actions-"] { gap: 0 0.4rem; }
[class*="st-key-title-"] [data-testid="stText"] > span {
    font-weight: 600; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden;
}
[class*="st-key-example-"] img { aspect-ratio: 1; object-fit: contain; background: rgba(128, 128, 128, 0.12); }
[class*="st-key-why-"] img { max-height: 55vh; object-fit: contain; }
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p { color: inherit; opacity: 1; }
.category-counts { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; font-size: 0.875rem; }
.category-counts i { display: inline-block; width: 0.75em; height: 0.75em; border-radius: 50%; margin-right: 0.4em; }
</style>"""
