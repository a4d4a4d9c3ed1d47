variable "region" {
  type        = string
  default     = "us-west-2"
  description = "Where the image is made."
}

variable "regions" {
  type        = list(string)
  default     = []
  description = "Where else it is copied to."
}

variable "instance_type" {
  type        = string
  default     = "t3.small"
  description = "Of the machine that it is made on."
}

variable "subnet_id" {
  type        = string
  default     = ""
  description = "Empty: the default VPC."
}

variable "packages" {
  type        = string
  default     = "../build/packages"
  description = "The directory with ecsd_*.deb and ecsd-*.rpm (make deb, make rpm)."
}

variable "version" {
  type        = string
  default     = "0.1.0"
  description = "Part of the image's name."
}

variable "volume_gb" {
  type        = number
  default     = 30
  description = "Size of the root volume, which has Docker's images too."
}
