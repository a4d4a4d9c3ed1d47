# Images of Amazon Linux 2023 and Debian 12 with Docker and ecsd (README.md). What is done to them is in provision/, which
# image.sh runs too, for the local image that is tested.

locals {
  stamp = formatdate("YYYYMMDDhhmm", timestamp())
  tags = {
    Name    = "ecsd"
    Version = var.version
  }
}

source "amazon-ebs" "al2023" {
  ami_name        = "ecsd-${var.version}-al2023-x86_64-${local.stamp}"
  ami_description = "Amazon Linux 2023 with Docker and ecsd ${var.version}"
  ami_regions     = var.regions
  region          = var.region
  instance_type   = var.instance_type
  subnet_id       = var.subnet_id
  ssh_username    = "ec2-user"
  tags            = merge(local.tags, { Base = "{{ .SourceAMIName }}" })
  run_tags        = local.tags
  ena_support     = true
  imds_support    = "v2.0"

  source_ami_filter {
    filters = {
      name                = "al2023-ami-2023.*-x86_64"
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
    owners      = ["amazon"]
    most_recent = true
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = var.volume_gb
    iops                  = 3000
    throughput            = 125
    delete_on_termination = true
  }
}

source "amazon-ebs" "debian12" {
  ami_name        = "ecsd-${var.version}-debian12-x86_64-${local.stamp}"
  ami_description = "Debian 12 with Docker and ecsd ${var.version}"
  ami_regions     = var.regions
  region          = var.region
  instance_type   = var.instance_type
  subnet_id       = var.subnet_id
  ssh_username    = "admin"
  tags            = merge(local.tags, { Base = "{{ .SourceAMIName }}" })
  run_tags        = local.tags
  ena_support     = true
  imds_support    = "v2.0"

  source_ami_filter {
    filters = {
      name                = "debian-12-amd64-*"
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
    owners      = ["136693071363"] # Debian, https://wiki.debian.org/Cloud/AmazonEC2Image
    most_recent = true
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = var.volume_gb
    iops                  = 3000
    throughput            = 125
    delete_on_termination = true
  }
}

build {
  sources = ["source.amazon-ebs.al2023", "source.amazon-ebs.debian12"]

  # The instance is still being set up when SSH works; 2 is a warning of cloud-init's.
  provisioner "shell" {
    inline = [
      "cloud-init status --wait || [ $? -eq 2 ]",
      "mkdir /tmp/packages",
    ]
  }

  provisioner "file" {
    source      = "${var.packages}/"
    destination = "/tmp/packages"
  }

  provisioner "shell" {
    only            = ["amazon-ebs.debian12"]
    execute_command = "sudo sh {{ .Path }}"
    inline          = ["apt-get update"]
  }

  provisioner "shell" {
    execute_command = "sudo sh {{ .Path }} /tmp/packages"
    scripts = [
      "${path.root}/provision/install.sh",
      "${path.root}/provision/configure.sh",
      "${path.root}/provision/clean.sh",
    ]
  }
}
