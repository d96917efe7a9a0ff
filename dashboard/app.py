"""The dashboard's entry point: `streamlit run dashboard/app.py`."""

import streamlit as st

from dashboard.login import check_access
from dashboard.style import STYLE


def main() -> None:
    """Register the pages and draw the current one."""
    st.set_page_config(page_title="marketlens", page_icon="🔎", layout="wide")
    st.html(STYLE)
    page = st.navigation(
        [
            st.Page("search/page.py", title="Search", icon=":material/image_search:", default=True),
            st.Page("clusters/page.py", title="Clusters", icon=":material/bubble_chart:", url_path="clusters"),
            st.Page(
                "review/wrong_category_page.py",
                title="Wrong category",
                icon=":material/rule:",
                url_path="wrong-category",
            ),
            st.Page(
                "review/duplicates_page.py", title="Duplicates", icon=":material/content_copy:", url_path="duplicates"
            ),
            st.Page("quality/page.py", title="Quality", icon=":material/analytics:", url_path="quality"),
            st.Page("operations/page.py", title="Operations", icon=":material/monitor_heart:", url_path="operations"),
        ],
        position="top",
    )
    if check_access():
        page.run()


if __name__ == "__main__":
    main()
