"""What tests share: server processes, sample bundles, fixtures, and the rules that manifests keep."""
