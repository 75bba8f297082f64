"""The web page, for one machine or a Hugging Face Space.

`form` and `plots` do not depend on Gradio. `page` builds the Gradio page on top of them, and `server`
runs it.
"""
