"""CSS for what Streamlit's own options cannot do."""

# Photos have different shapes: squares align them without cropping. The buttons of a row are level.
STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding: 4.5rem clamp(1rem, 3vw, 2.5rem) 3rem; }
[class*="st-key-tile-"] > :last-child { margin-top: auto; }
[class*="st-key-tile-"] img {
    width: 100%; aspect-ratio: 1; object-fit: contain; background: rgba(128, 128, 128, 0.12); border-radius: 0.5rem;
}
[class*="st-key-tile-"] [data-testid="stText"] { font-size: 0.875rem; line-height: 1.4; }
[class*="st-key-tile-"] button { min-height: 1.75rem; padding: 0; }
[class*="st-key-tile-"] button p { font-size: 0.8125rem; text-decoration: underline; text-underline-offset: 0.2em; }
/* Streamlit's white text is unreadable on the light blue of the dark theme. */
[data-testid^="stBaseButton-primary"], [data-testid="stMultiSelect"] [data-tag] :is(span, button) {
    color: light-dark(#ffffff, #0e1117);
}
[class*="st-key-actions-"] { gap: 0 0.4rem; }
[class*="st-key-title-"] [data-testid="stText"] > span {
    font-weight: 600; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden;
}
[class*="st-key-example-"] img { aspect-ratio: 1; object-fit: contain; background: rgba(128, 128, 128, 0.12); }
[class*="st-key-why-"] img { max-height: 55vh; object-fit: contain; }
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] :is(p, code) { color: inherit; opacity: 1; }
.category-counts { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; font-size: 0.875rem; }
.category-counts i { display: inline-block; width: 0.75em; height: 0.75em; border-radius: 50%; margin-right: 0.4em; }
/* Review pages: the decision buttons stay visible, and the photo does not move them. */
[class*="st-key-decision-bar"] {
    position: sticky; top: 3.75rem; z-index: 5; padding: 0.5rem 0; backdrop-filter: blur(1rem);
}
@media (max-width: 40rem) { [data-testid="stButton"] kbd { display: none; } }
.st-key-large-photo img { height: min(45vh, 24rem); object-fit: contain; background: rgba(128, 128, 128, 0.12); }
.st-key-other-photos img { aspect-ratio: 1; object-fit: cover; border-radius: 0.25rem; }
.certainty { display: flex; flex-wrap: wrap; justify-content: space-between; margin-bottom: 0.5rem; }
dl.versus { margin: 0; padding: 0; display: grid; gap: 0.5rem; }
.versus div { margin: 0; border: 1px solid rgba(128, 128, 128, 0.4); border-radius: 0.5rem; padding: 0.5rem 0.75rem; }
.versus .suggested { border: 2px solid #2e7d32; }
.versus dt { font-size: 0.875rem; } .versus dd { margin: 0; }
.versus dt + dd { font-size: 1.25rem; font-weight: 600; }
.voices { width: 100%; margin: 0.75rem 0; border-collapse: collapse; font-size: 0.875rem; }
.voices th, .voices td { text-align: left; font-weight: 400; padding: 0.25rem 0.5rem 0.25rem 0; }
.voices tr + tr, .voices tbody tr { border-top: 1px solid rgba(128, 128, 128, 0.3); }
.voices td:last-child, .voices th:last-child { font-weight: 600; }
[class*="st-key-tile-agrees-"] img { outline: 3px solid #2e7d32; outline-offset: -3px; }
.differences { display: flex; flex-wrap: wrap; gap: 0.5rem; font-size: 0.875rem; }
.differences span { border: 1px solid rgba(128, 128, 128, 0.4); border-radius: 1rem; padding: 0.125rem 0.75rem; }
.differences .differs { border: 2px solid #d97706; font-weight: 600; }
.differences .differs::before { content: "≠ "; }
ul.listing-facts { list-style: none; margin: 0; padding: 0; font-size: 0.875rem; }
.listing-facts li { margin: 0; padding: 0; overflow-wrap: anywhere; }
.listing-facts .differs { font-weight: 600; text-decoration: underline 2px #d97706; text-underline-offset: 3px; }
[class*="st-key-photos-"] img {
    aspect-ratio: 1; object-fit: contain; background: rgba(128, 128, 128, 0.12); border-radius: 0.5rem;
}
/* If the chart were narrower, the counts in its cells would overlap. */
.st-key-confusion-scroll { overflow-x: auto; }
.st-key-confusion-scroll > * { min-width: 46rem; }
.st-key-confusion-scroll svg g.mark-text { pointer-events: none; }
</style>"""
