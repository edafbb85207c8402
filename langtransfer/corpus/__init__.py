"""From raw text to clean, split documents; the atlas of the offline demo."""
