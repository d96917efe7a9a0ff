"""The browser fixtures themselves: pages open, are drawn at every width and theme, and axe can read them."""

from tests.browser import Browser, DashboardSite, assert_accessible, shoot, visit


def test_both_pages_open(dashboard_site: DashboardSite, browser: Browser) -> None:
    """Search and Clusters open in a browser, one reachable from the other."""
    page = visit(browser, dashboard_site.dashboard)
    page.get_by_role("heading", name="Search by photo").wait_for()
    shoot(page, "search-empty")
    assert_accessible(page)
