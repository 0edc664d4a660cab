"""Images: from headers and pixels to arrays in order, with geometry and header, and no network."""
