"""Where requests come from: files, HAR, OpenAPI descriptions, a crawl of the app itself."""
