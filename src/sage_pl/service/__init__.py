"""An exported folder behind HTTP: recommendations, similar items, new items and events, for many clients at once.

FastAPI and uvicorn, since every endpoint reads the same users, events and items. A server of models such as LitServe hands each
request to a process of its own over a queue, which costs a copy and suits endpoints without shared state.
"""
