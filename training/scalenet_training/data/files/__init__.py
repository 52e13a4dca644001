"""Image files of folders and manifests: listed, examined, remembered."""
