"""Which target is fetched next, so that every host keeps its own pace."""
