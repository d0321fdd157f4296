"""The report and the diff page as HTML: views hold what they show, templates lay it out."""
