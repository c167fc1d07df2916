"""What runs on each machine: tasks, images, network; knows neither control plane nor store."""
